"""Run the command ``cosmicgate`` by ``python -m cosmicgate``."""

from cosmicgate.cli import app

if __name__ == "__main__":
    app(prog_name="cosmicgate")
