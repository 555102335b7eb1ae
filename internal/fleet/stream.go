package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const streamName = "PARLEY"

// Stream is how the stream is made, where it is not there. One that is there is used as it is.
type Stream struct {
	Replicas int           // nodes that each keep all of it; 0 is 3 where the cluster has as many, else 1
	Bytes    int64         // past which the oldest goes; 1 GiB if 0
	Age      time.Duration // past which a block goes; 7 days if 0
}

const (
	DefaultStreamBytes = 1 << 30
	DefaultStreamAge   = 7 * 24 * time.Hour
)

// ensure sees that the stream is there.
func (s Stream) ensure(ctx context.Context, l *link) error {
	_, err := l.js.Stream(ctx, streamName)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	config := jetstream.StreamConfig{
		Name:        streamName,
		Description: "journals of Parley, in blocks of records",
		Subjects:    []string{allRecords},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxBytes:    s.Bytes,
		MaxAge:      s.Age,
		Storage:     jetstream.FileStorage,
		Compression: jetstream.S2Compression,
		Duplicates:  2 * time.Minute,
		Replicas:    s.Replicas,
	}
	if config.Replicas == 0 {
		config.Replicas = 3
	}
	_, err = l.js.CreateStream(ctx, config)
	if s.Replicas == 0 && isTooFew(err) && l.named < 3 && len(l.nc.Servers()) < 3 {
		config.Replicas = 1
		_, err = l.js.CreateStream(ctx, config)
	}
	var refused *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse): // by another shipper's, just now
		return nil
	case errors.As(err, &refused):
		return fmt.Errorf("stream %s cannot be made: %s", streamName, refused.Description)
	}
	return err
}

// isTooFew says that there are fewer servers than replicas: no cluster at all, or a small one.
func isTooFew(err error) bool {
	const notClustered, noPeers = 10074, 10005
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == notClustered || refused.ErrorCode == noPeers)
}
