package main

func (b *bench) conns() error { return nil }
