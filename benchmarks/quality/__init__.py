"""How well the models do, beside the field: real recordings and public corpora, each with its peers in the same run."""
