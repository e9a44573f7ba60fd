"""A photo and what moves it -> a video, an animated image or pictures: everything `omote animate` does."""
