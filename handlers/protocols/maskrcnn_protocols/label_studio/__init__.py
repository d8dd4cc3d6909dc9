"""The protocol of Label Studio's machine learning backends."""
