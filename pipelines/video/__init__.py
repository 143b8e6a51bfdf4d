"""Videos and images: decoding, clipping, sketches, and the one runner of ffmpeg."""
