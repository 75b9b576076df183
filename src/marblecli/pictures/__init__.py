"""What is drawn of images: strips with captions, kept within a bound of pixels."""
