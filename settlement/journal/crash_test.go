package journal

func appendUntilKilled(string) {}
