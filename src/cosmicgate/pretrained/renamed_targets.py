"""Translate class names and keys of checkpoints and run folders up to version 0.1 to the present ones."""

from typing import Any

RENAMED = {
    "cosmicgate.callbacks.ValidationCurves": "cosmicgate.training.callbacks.ValidationCurves",
    "cosmicgate.data.archives.fetch_lco": "cosmicgate.data.download.zenodo.fetch_lco",
    "cosmicgate.data.cameras.RandomDarks": "cosmicgate.data.sources.random_cameras.RandomDarks",
    "cosmicgate.data.cameras.RandomScience": "cosmicgate.data.sources.random_cameras.RandomScience",
    "cosmicgate.data.clean.Clean": "cosmicgate.data.background.AstroScrappyCleaner",
    "cosmicgate.data.collection.fetched_or_simulated": "cosmicgate.data.collection.choose_lco_data",
    "cosmicgate.data.contaminate.Either": "cosmicgate.data.contamination.RandomRecipe",
    "cosmicgate.data.contaminate.Paper": "cosmicgate.data.contamination.PaperRecipe",
    "cosmicgate.data.contaminate.Physical": "cosmicgate.data.contamination.PhysicalRecipe",
    "cosmicgate.data.darks.Darks": "cosmicgate.data.sources.raw_darks.Darks",
    "cosmicgate.data.darks.Defects": "cosmicgate.data.sources.raw_darks.DefectFinder",
    "cosmicgate.data.darks.Limits": "cosmicgate.data.sources.raw_darks.LightLimits",
    "cosmicgate.data.darks.RawDarks": "cosmicgate.data.sources.raw_darks.RawDarks",
    "cosmicgate.data.darks.Reduction": "cosmicgate.data.sources.raw_darks.Reduction",
    "cosmicgate.data.decam.DecamData": "cosmicgate.data.datamodule.DecamData",
    "cosmicgate.data.download.fetch_lco": "cosmicgate.data.download.zenodo.fetch_lco",
    "cosmicgate.data.lco.by_class.LCO": "cosmicgate.data.lco.datamodule.LCO",
    "cosmicgate.data.lco.simulated.simulated_archive": "cosmicgate.data.lco.simulated_archive.simulated_archive",
    "cosmicgate.data.patches.Crops": "cosmicgate.data.patches.CropSampler",
    "cosmicgate.data.patches.Grid": "cosmicgate.data.patches.GridSampler",
    "cosmicgate.data.real.AddHits": "cosmicgate.data.sources.HitInjector",
    "cosmicgate.data.real.Coadd": "cosmicgate.data.sources.Coadd",
    "cosmicgate.data.real.Exposures": "cosmicgate.data.sources.Exposures",
    "cosmicgate.data.real.Files": "cosmicgate.data.sources.Files",
    "cosmicgate.data.real.FlaggedCutouts": "cosmicgate.data.sources.FlaggedCutouts",
    "cosmicgate.data.real.Footprints": "cosmicgate.data.sources.Footprints",
    "cosmicgate.data.real.InjectedHits": "cosmicgate.data.sources.InjectedHits",
    "cosmicgate.data.remote.Noirlab": "cosmicgate.data.sources.noirlab.Noirlab",
    "cosmicgate.data.sources.AddHits": "cosmicgate.data.sources.HitInjector",
    "cosmicgate.data.sources.SimulatedDarks": "cosmicgate.data.sources.simulated.SimulatedDarks",
    "cosmicgate.data.sources.SimulatedScience": "cosmicgate.data.sources.simulated.SimulatedScience",
    "cosmicgate.data.sources.injection.AddHits": "cosmicgate.data.sources.injection.HitInjector",
    "cosmicgate.data.sources.raw_darks.Defects": "cosmicgate.data.sources.raw_darks.DefectFinder",
    "cosmicgate.data.sources.raw_darks.Limits": "cosmicgate.data.sources.raw_darks.LightLimits",
    "cosmicgate.data.sources.truth_planes.FramesWithTruth": "cosmicgate.data.sources.FramesWithTruth",
    "cosmicgate.losses.Dice": "cosmicgate.training.losses.DiceBCELoss",
    "cosmicgate.losses.Focal": "cosmicgate.training.losses.FocalLoss",
    "cosmicgate.losses.MedianWeight": "cosmicgate.training.losses.BackgroundPixelWeight",
    "cosmicgate.segmentation.Segmentation": "cosmicgate.training.module.Segmentation",
    "cosmicgate.training.phases.BatchNormFreeze": "cosmicgate.training.batch_norm_freeze.BatchNormFreeze",
    "cosmicgate.training.sweeps.KeepGoing": "cosmicgate.training.sweeps.ContinueOnJobFailure",
}
# Present class -> its renamed keys.
RENAMED_KEYS = {
    "cosmicgate.data.datamodule.DecamData": {"workers": "num_workers", "also": "extra_test_sets"},
    "cosmicgate.data.labelled_exposures.LabelledExposures": {
        "draws": "injections_per_exposure",
        "header": "header_overrides",
    },
    "cosmicgate.data.mixture.Mixture": {"workers": "num_workers"},
    "cosmicgate.data.sources.Exposures": {"header": "header_overrides"},
    "cosmicgate.data.sources.Files": {"header": "header_overrides"},
    "cosmicgate.data.sources.FramesWithTruth": {"header": "header_overrides"},
    "cosmicgate.data.sources.InjectedHits": {"draws": "injections_per_exposure"},
    "cosmicgate.data.sources.noirlab.Noirlab": {"header": "header_overrides"},
    "cosmicgate.data.sources.random_cameras.RandomScience": {"smeared": "trailed_or_defocused"},
    "cosmicgate.data.sources.raw_darks.Darks": {"header": "header_overrides"},
    "cosmicgate.data.sources.raw_darks.RawDarks": {"header": "header_overrides"},
    "cosmicgate.training.batch_norm_freeze.BatchNormFreeze": {
        "fraction": "start_fraction",
        "restart": "restart_lr_factor",
        "hold": "constant_lr",
    },
    "cosmicgate.training.callbacks.ValidationCurves": {"every": "every_n_epochs", "images": "max_images"},
    "cosmicgate.training.losses.BackgroundPixelWeight": {"low": "min_weight", "full": "full_weight_sigma"},
    "cosmicgate.training.losses.DiceBCELoss": {"entropy": "bce_weight"},
    "cosmicgate.training.losses.FocalLoss": {"hits": "alpha"},
    "cosmicgate.training.module.Segmentation": {"squares": "block_size", "weigh": "pixel_weight"},
}


def with_current_targets(config: Any) -> Any:
    """Replace each renamed ``_target_`` of a configuration, and renamed keys beside it, by the present names."""
    if isinstance(config, dict):
        config = {key: with_current_targets(value) for key, value in config.items()}
        target = config.get("_target_")
        if not isinstance(target, str):
            return config
        target = RENAMED.get(target, target)
        keys = RENAMED_KEYS.get(target, {})
        return {keys.get(key, key): value for key, value in config.items()} | {"_target_": target}
    if isinstance(config, list):
        return [with_current_targets(value) for value in config]
    return config
