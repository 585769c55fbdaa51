"""``python -m cosmicgate`` is the command ``cosmicgate``."""

from cosmicgate.masking.command import app

if __name__ == "__main__":
    app(prog_name="cosmicgate")
