"""Image files on disk: finding them, planning results, writing them atomically. Free of torch."""
