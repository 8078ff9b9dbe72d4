"""A model from training to judgement: what it makes of cells, and how well."""
