"""The lab in a browser: gradio on top of ``lisa.lab``, without torch, diffusers or umap."""
