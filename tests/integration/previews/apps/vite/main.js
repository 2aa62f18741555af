import { said } from './said.js'

document.querySelector('#said').textContent = said
if (import.meta.hot) import.meta.hot.accept('./said.js', () => {})
