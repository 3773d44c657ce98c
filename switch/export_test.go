package acquirer

// Narrow leaves so many places at the gate.
func (s *Switch) Narrow(places int64) { s.gate.places = places }
