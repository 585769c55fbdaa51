"""``python -m cosmicgate`` is the command ``cosmicgate``."""

from cosmicgate.command import app

if __name__ == "__main__":
    app(prog_name="cosmicgate")
