// These trees are data. A module of their own keeps them out of the zip file of the main one, which allows no colons in
// file names, as sysfs has them.
module github.com/balena-community/balena-migrate/testdata/roots

go 1.26.0
