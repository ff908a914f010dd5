"""The extension built for macOS on Apple silicon, anywhere."""
