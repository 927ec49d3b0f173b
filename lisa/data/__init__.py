"""Training data: from scenes, folders, zips and the hub, checked before it is used."""
