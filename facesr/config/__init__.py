"""Every knob of facesr as a frozen dataclass, free of torch; read, merged and validated in one place."""
