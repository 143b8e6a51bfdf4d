"""Which machines: jobs on Ray and DeepSpeed, stores in Parquet, video through ffmpeg."""
