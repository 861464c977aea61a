"""From a model's name to its file: known names, the hub's cache, downloads, fingerprints."""
