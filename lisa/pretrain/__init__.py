"""Training of the embedded models from scratch: autoencoder, text encoder, tokenizer and main network."""
