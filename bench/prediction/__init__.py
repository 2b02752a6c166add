"""What a cell will take, without running it: memory, work and, on a calibrated device, time."""
