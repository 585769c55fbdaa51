"""Search hyperparameters with Optuna (TPE) for the smallest validation loss, without using test scores.

pip install '.[search]'
python scripts/search.py experiment=decam model=att_deepcr
python scripts/search.py model.channels=8 'module.optimizer.lr=tag(log, interval(1e-4, 1e-2))' --trials 40

Arguments are those of train.py. The search space is given by sweeps of Hydra: choice(...), interval(...) or range(...);
learning rate and width are searched unless the arguments set them. Each trial is a run of train.py with a folder of its
own below --folder; the study is the file journal.log there (optuna-dashboard shows it). The same command resumes a
stopped search with its unfinished trial; a larger --trials extends a search.

Time: 20 trainings of 5 to 20 minutes each with experiment=decam (fastest with 8 channels), 4 hours on 2 cores.
"""

import argparse
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from cosmicgate.extras import extra

with extra("train,search", __name__):
    import optuna
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    from cosmicgate.config import ConfigError, path_name, report_user_errors
    from cosmicgate.io.run_files import BEST
    from cosmicgate.training.run_folder import objective
    from cosmicgate.training.run_lock import lock_run_folder

ROOT = Path(__file__).resolve().parents[1]
SPACE = ("module.optimizer.lr=tag(log, interval(0.0005, 0.02))", "model.channels=choice(8, 16, 32)")
STOPPED = (130, 143)  # exit codes of train.py after Ctrl-C and SIGTERM


def distribution(sweep: Any, key: str) -> BaseDistribution:
    """Translate a sweep of Hydra into a distribution of Optuna."""
    if isinstance(sweep, ChoiceSweep):
        return CategoricalDistribution([str(one) for one in sweep.list])
    if isinstance(sweep, IntervalSweep):
        return FloatDistribution(float(sweep.start), float(sweep.end), log="log" in sweep.tags)
    if isinstance(sweep, RangeSweep):
        return IntDistribution(int(sweep.start), int(sweep.stop) - 1, step=int(sweep.step))
    raise ConfigError(f"{key}: expected choice(...), interval(...) or range(...), got {sweep}")


def train(overrides: list[str], run: Path) -> float | None:
    """Run train.py and return the value to minimise, None if it failed; exit if it was stopped."""
    training = subprocess.Popen([sys.executable, ROOT / "train.py", *overrides, f"hydra.run.dir={run}"])
    while training.poll() is None:
        with suppress(KeyboardInterrupt):  # Ctrl-C reaches train.py too, which cleans up before it ends
            training.wait()
    if (code := training.returncode) in STOPPED or code < 0:
        sys.exit(code if code > 0 else 128 - code)
    return None if code else objective(run / BEST)


def search(overrides: list[str], folder: Path, trials: int) -> optuna.Study:
    """Run trials until the study has ``trials`` finished or failed ones."""
    parse = OverridesParser.create().parse_override
    keys = {parse(word).key_or_group for word in overrides}
    words = [parse(word) for word in [*(word for word in SPACE if parse(word).key_or_group not in keys), *overrides]]
    space = {w.key_or_group: distribution(w.value(), w.key_or_group) for w in words if w.is_sweep_override()}
    fixed = [str(word.input_line) for word in words if not word.is_sweep_override()]
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    name = " ".join(sorted(fixed)) or "train.py"
    study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True, direction="minimize")
    for unfinished in study.get_trials(states=[TrialState.RUNNING]):  # unfinished trials of a stopped search come first
        study.tell(unfinished.number, state=TrialState.PRUNED)
        study.enqueue_trial(unfinished.params)
    while len(done := study.get_trials(states=[TrialState.COMPLETE, TrialState.FAIL])) < trials:
        study.sampler = optuna.samplers.TPESampler(
            seed=len(done)
        )  # the seed depends on the trial's number, resumed or not
        trial = study.ask(space)
        chosen = [f"{key}={value}" for key, value in trial.params.items()]
        run = folder / path_name("_".join([*sorted(fixed), *chosen]).replace("/", "-"))
        value = train([*fixed, *chosen], run)
        study.tell(trial, value, TrialState.FAIL if value is None else TrialState.COMPLETE)
        print(f"trial {len(done) + 1} of {trials}: {' '.join(chosen)}: {'failed' if value is None else f'{value:.6g}'}")
    return study


@report_user_errors()
def main() -> None:
    """Search, and print the best trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    parser.add_argument("--trials", type=int, default=20, help="total number, including trials of earlier commands")
    parser.add_argument("--folder", type=Path, default=Path("outputs/search"))
    options = parser.parse_args()
    with lock_run_folder(options.folder):
        study = search(options.overrides, options.folder, options.trials)
    print(f"best: {' '.join(f'{key}={value}' for key, value in study.best_params.items())}: {study.best_value:.6g}")


if __name__ == "__main__":
    main()
