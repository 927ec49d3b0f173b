"""What the measures of features mean, in a sentence each, with their source."""

FEATURE_MEASURES = {
    "variance share": "share of the features' variance that lies between the groups of a factor, 0 to 1 "
    "(R² of PERMANOVA, Anderson 2001)",
    "probe accuracy": "how often a linear probe names the group of a row whose scene it has not seen "
    "(Alain and Bengio 2016)",
    "silhouette": "how much closer a row is to rows of its own scene than to those of the next scene, -1 to 1 "
    "(Rousseeuw 1987)",
    "linear CKA": "how alike the geometry of the features is to that of the condition, or of the noisy sample, that "
    "they were computed from; about 0 for nothing, 1 for the same (Kornblith 2019, unbiased)",
    "DCI": "disentanglement: does a channel serve one factor; completeness: does a factor sit in few channels; "
    "informativeness: accuracy of linear probes above chance, 0 where they do no better; 1 is the most "
    "(Eastwood and Williams 2018)",
}

FEATURE_INTERVALS = (
    "An interval is the value ± 1.96 standard errors over 100 resamples of whole scenes. Variance share, probe "
    "accuracy and DCI informativeness: **bootstrap**, scenes drawn with replacement; the probes stay as fitted, so "
    "what other scenes would have taught them is left out. Silhouette, linear CKA, DCI disentanglement and "
    "completeness: **random halves** of the scenes (delete-half jackknife, Shao and Wu 1989), since these compare "
    "rows with each other or are fitted to them, and a scene that a bootstrap draws twice would be its own perfect "
    "neighbour. Chance is the 95th percentile of 100 permutations: factors of the scene are permuted between "
    "scenes, those of the design within them."
)
