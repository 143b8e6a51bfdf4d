"""Sources of videos and images, each of which lists what it has."""
