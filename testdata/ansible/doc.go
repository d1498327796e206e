// Package ansible holds the tests of the Ansible collection: real ansible-playbook runs with the real executable
// against a real sshd and sudo in a Debian tree without Python. They need root, and the Debian packages ansible-core,
// ansible-lint, mmdebstrap, openssh-server and openssh-client.
package ansible
