"""The folder of a checkpoint: files, manifest, model card."""
