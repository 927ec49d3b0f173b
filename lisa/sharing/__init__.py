"""Networks that come from elsewhere and go out: folders, zips, the hub, and what is here."""
