package gokakit

import (
	"crypto/sha256"
	"crypto/sha512"
	"hash"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// scramConversation adapts a SCRAM library to sarama.
type scramConversation struct {
	hash func() hash.Hash
	*scram.ClientConversation
}

// Begin implements sarama.SCRAMClient.
func (c *scramConversation) Begin(user, password, authz string) error {
	client, err := scram.HashGeneratorFcn(c.hash).NewClient(user, password, authz)
	if err != nil {
		return err
	}
	c.ClientConversation = client.NewConversation()
	return nil
}

// Step implements sarama.SCRAMClient.
func (c *scramConversation) Step(challenge string) (string, error) {
	return c.ClientConversation.Step(challenge)
}

func scramClient(mechanism string) func() sarama.SCRAMClient {
	h := sha256.New
	if mechanism == sarama.SASLTypeSCRAMSHA512 {
		h = sha512.New
	}
	return func() sarama.SCRAMClient { return &scramConversation{hash: h} }
}
