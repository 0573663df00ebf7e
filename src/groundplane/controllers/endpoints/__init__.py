"""The older form of the same: one Endpoints object for a Service, for clients that know no slices."""
