package keepalive

// Supported returns c without the fields that this system is known to lack:
// UserTimeout and MaxRTO on other systems than Linux, MaxRTO before Linux 6.15,
// and those that [Config] lists. For GOOS=js and wasip1, which have no keepalive,
// it returns {Disable: true}. On other systems Disable does not change.
//
// Supported is for policies that a program uses on several systems. It leaves a
// field that may be unsupported for another reason, such as a container that
// refuses the option or a release that could not be asked: setting it then
// returns an error.
func (c Config) Supported() Config { return supported(c) }
