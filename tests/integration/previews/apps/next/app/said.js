export const said = 'first'
