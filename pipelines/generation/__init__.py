"""From an export to samples: of a store's clips as a set on disk, or of a person's own files."""
