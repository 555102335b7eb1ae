package listen

import "net"

// Trust is whose PROXY header is believed.
type Trust struct {
	list *prefixes
	unix bool
}

// trustUnix is how the peers of Unix sockets are called in a list of whom to trust.
const trustUnix = "unix"

// NewTrust makes one of a list of addresses, such as 10.0.0.5 or 10.0.0.0/8, and unix for the
// peers of Unix sockets, whoever they are.
func NewTrust(items []string) (*Trust, error) {
	t := &Trust{list: newPrefixes()}
	for _, item := range items {
		if item == trustUnix {
			t.unix = true
			continue
		}
		prefix, err := parsePrefix(item)
		if err != nil {
			return nil, err
		}
		t.list.add(prefix)
	}
	return t, nil
}

// CheckTrust says what is wrong with an item of such a list.
func CheckTrust(item string) error {
	_, err := NewTrust([]string{item})
	return err
}

func (t *Trust) trusts(peer net.Addr) bool {
	if ip, ok := ipOf(peer); ok {
		return t.list.has(ip)
	}
	_, isUnix := peer.(*net.UnixAddr)
	return isUnix && t.unix
}
