// The page that asks for the token works without this. What the address names, such as a session behind #,
// is shown once the token is there, and a token that is wrong need not stay in it.

document.querySelector('form').action = (location.pathname === '/journal/' ? '/journal/' : '/') + location.hash
if (location.search) history.replaceState(null, '', location.pathname + location.hash)
