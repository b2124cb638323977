"""What comes with facesr under a name, as TOML beside this file, and the enlargement that it is made for."""

DEFAULT_SCALE = 4
