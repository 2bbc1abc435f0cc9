"""Raw input to arrays and back: text, images, videos, audio. No model in here."""
