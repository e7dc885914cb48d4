"""The tables of the documents, made of the results: `python -m benchmarks.tables` writes them where the documents have
their marks."""
