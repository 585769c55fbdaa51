"""Around a training: its processes, their memory, and the jobs of a sweep."""
