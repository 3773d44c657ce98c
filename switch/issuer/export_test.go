package issuer

// InFlight is how many requests, advices and reversals wait for an issuer.
func (r *Router) InFlight() int { return r.inFlight() }
