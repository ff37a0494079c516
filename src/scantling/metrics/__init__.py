"""What evaluation reports: numpy arrays in, numbers out; no files, no devices, no methods.

Each family is one function that compares a prediction with the truth and returns a small object whose properties
bear the names of the metrics: `overlap.confusion(p, t).dice`, `topology.topology(p, t).cldice`,
`distance.surface_distances(p, t, spacing=s).hd95`, `ranking.ranking(q, t).auc`, `calibration.calibration(q, t).ece`,
`several.several(samples, annotators).ged`, `instances.instances(p, t).aji`,
`detection.detection(images, classes=1).ap`, `uncertainty.error_ranking(u, p, t).uncertainty_auc`. `catalogue` lists
them all. Arrays are `(*S)` in two or three dimensions, one class at a time (boxes have all classes together); a mask is
bool, or 0 and 1, and any other value is refused. Of a shape with two readings, such as (1, H, W), `spatial_dims` says
which is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scantling.core.rooms import load_on_demand

if TYPE_CHECKING:
    from scantling.metrics.agreement import krippendorff_alpha
    from scantling.metrics.branches import Branch, Branches, branches
    from scantling.metrics.calibration import Calibration, calibration
    from scantling.metrics.catalogue import BOX_METRICS, CLASS_METRICS, METRICS, Metric
    from scantling.metrics.classification import (
        accuracy,
        auc,
        auc_by_class,
        balanced_accuracy,
        brier,
        brier_by_case,
        class_calibration,
        confusion_matrix,
        f1,
        f1_by_class,
        sensitivity_by_class,
    )
    from scantling.metrics.confidence import confidence_sums, dice_confidence
    from scantling.metrics.conformal import residual_interval
    from scantling.metrics.detection import Detection, FoundBoxes, detection, matched
    from scantling.metrics.distance import SurfaceDistances, surface_distances
    from scantling.metrics.generation import Manifolds, frechet_distance, kernel_distance, manifolds
    from scantling.metrics.instance_overlaps import Overlaps, overlaps, separated
    from scantling.metrics.instances import Instances, instances
    from scantling.metrics.lesions import Lesions, lesions
    from scantling.metrics.memorisation import (
        MemorisationLimits,
        Nearest,
        aligned_distances,
        memorisation_limits,
        nearest,
        standardised,
    )
    from scantling.metrics.object_statistics import ObjectStatistics, ks_distance, object_statistics
    from scantling.metrics.overlap import Confusion, confusion
    from scantling.metrics.ranking import Ranking, ranking
    from scantling.metrics.several import Several, several
    from scantling.metrics.structural import Scales, ms_ssim, scales_of, slice_consistency, ssim
    from scantling.metrics.topology import Topology, betti_numbers, components, euler_characteristic, skeleton, topology
    from scantling.metrics.tubes import branching_angles, coverage, diversity, fractal_dimension, widths
    from scantling.metrics.uncertainty import ErrorRanking, error_ranking
    from scantling.metrics.volume import Volumes, volumes

__all__ = [
    "BOX_METRICS",
    "CLASS_METRICS",
    "METRICS",
    "Branch",
    "Branches",
    "Calibration",
    "Confusion",
    "Detection",
    "ErrorRanking",
    "FoundBoxes",
    "Instances",
    "Lesions",
    "Manifolds",
    "MemorisationLimits",
    "Metric",
    "Nearest",
    "ObjectStatistics",
    "Overlaps",
    "Ranking",
    "Scales",
    "Several",
    "SurfaceDistances",
    "Topology",
    "Volumes",
    "accuracy",
    "aligned_distances",
    "auc",
    "auc_by_class",
    "balanced_accuracy",
    "betti_numbers",
    "branches",
    "branching_angles",
    "brier",
    "brier_by_case",
    "calibration",
    "class_calibration",
    "components",
    "confidence_sums",
    "confusion",
    "confusion_matrix",
    "coverage",
    "detection",
    "dice_confidence",
    "diversity",
    "error_ranking",
    "euler_characteristic",
    "f1",
    "f1_by_class",
    "fractal_dimension",
    "frechet_distance",
    "instances",
    "kernel_distance",
    "krippendorff_alpha",
    "ks_distance",
    "lesions",
    "manifolds",
    "matched",
    "memorisation_limits",
    "ms_ssim",
    "nearest",
    "object_statistics",
    "overlaps",
    "ranking",
    "residual_interval",
    "scales_of",
    "sensitivity_by_class",
    "separated",
    "several",
    "skeleton",
    "slice_consistency",
    "ssim",
    "standardised",
    "surface_distances",
    "topology",
    "volumes",
    "widths",
]

load_on_demand(
    __name__,
    {
        "agreement": ("krippendorff_alpha",),
        "branches": ("Branch", "Branches", "branches"),
        "calibration": ("Calibration", "calibration"),
        "catalogue": ("BOX_METRICS", "CLASS_METRICS", "METRICS", "Metric"),
        "classification": (
            "accuracy",
            "auc",
            "auc_by_class",
            "balanced_accuracy",
            "brier",
            "brier_by_case",
            "class_calibration",
            "confusion_matrix",
            "f1",
            "f1_by_class",
            "sensitivity_by_class",
        ),
        "confidence": ("confidence_sums", "dice_confidence"),
        "conformal": ("residual_interval",),
        "detection": ("Detection", "FoundBoxes", "detection", "matched"),
        "distance": ("SurfaceDistances", "surface_distances"),
        "generation": ("Manifolds", "frechet_distance", "kernel_distance", "manifolds"),
        "instance_overlaps": ("Overlaps", "overlaps", "separated"),
        "instances": ("Instances", "instances"),
        "lesions": ("Lesions", "lesions"),
        "memorisation": (
            "MemorisationLimits",
            "Nearest",
            "aligned_distances",
            "memorisation_limits",
            "nearest",
            "standardised",
        ),
        "object_statistics": ("ObjectStatistics", "ks_distance", "object_statistics"),
        "overlap": ("Confusion", "confusion"),
        "ranking": ("Ranking", "ranking"),
        "several": ("Several", "several"),
        "structural": ("Scales", "ms_ssim", "scales_of", "slice_consistency", "ssim"),
        "topology": ("Topology", "betti_numbers", "components", "euler_characteristic", "skeleton", "topology"),
        "tubes": ("branching_angles", "coverage", "diversity", "fractal_dimension", "widths"),
        "uncertainty": ("ErrorRanking", "error_ranking"),
        "volume": ("Volumes", "volumes"),
    },
)
