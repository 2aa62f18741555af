import { said } from './said'

document.title = said
if (module.hot) module.hot.accept('./said', () => {})
