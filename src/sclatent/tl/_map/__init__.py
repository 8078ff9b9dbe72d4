"""Cells laid out in the plane: neighbours, clusters, UMAP."""
