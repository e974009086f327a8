"""Key points and embeddings for the metrics."""
