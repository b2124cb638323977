"""What facesr does, as functions: a configuration and a reporter in, a frozen result out."""
