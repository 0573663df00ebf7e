"""What `/NAME/SUBRESOURCE` does, one file each; `registry.py` of this folder names them all."""
