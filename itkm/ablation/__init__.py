"""What each component is worth: variants of the method, run through DVC and compared with the full one."""
