"""Image files on disk: finding them, planning where results go, writing all or nothing. Free of torch."""
