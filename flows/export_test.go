package flows

// CompileWith lets the tests of exactness choose the hash.
var CompileWith = compileWith
