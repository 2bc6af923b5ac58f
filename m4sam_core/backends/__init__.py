"""The same network in other inference engines (docs/deploy.md). PyTorch is the reference they are checked against."""
