package daemon

// DemandSoundClock is for tests: no test can set the machine's clock.
var DemandSoundClock = demandSoundClock
