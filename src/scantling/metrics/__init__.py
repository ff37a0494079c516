"""What evaluation reports: numpy arrays in, numbers out; no files, no devices, no methods.

Each family is one function that compares a prediction with the truth and returns a small object whose properties
bear the names of the metrics: `overlap.confusion(p, t).dice`, `topology.topology(p, t).cldice`,
`distance.surface_distances(p, t, spacing=s).hd95`, `ranking.ranking(q, t).auc`, `calibration.calibration(q, t).ece`,
`several.several(samples, annotators).ged`, `uncertainty.error_ranking(u, p, t).uncertainty_auc`. `catalogue` lists
them all. Arrays are `(*S)` in two or three dimensions, one class at a time.
"""
