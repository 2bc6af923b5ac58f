"""What is particular to the packaged weights: their pictures, clips and measurements."""
